"""CR1000: logger files, calibrated by when and by which sensor."""
