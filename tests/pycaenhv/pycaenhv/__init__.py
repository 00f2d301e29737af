"""A stand-in for the package pycaenhv, which is on no package index: it finds and loads the library as that does."""
