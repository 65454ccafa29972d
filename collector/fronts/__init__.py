"""Ways into the app functions: they translate and never decide."""
