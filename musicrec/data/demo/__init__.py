"""The demo world: synthetic music and listeners."""
