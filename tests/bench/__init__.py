"""The comparisons of `bench`."""
