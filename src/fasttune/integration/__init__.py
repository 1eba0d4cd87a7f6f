"""Other libraries, under the names that Ray Tune has for what works with them."""
