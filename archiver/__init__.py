"""From Channel Access to files, without loss."""
