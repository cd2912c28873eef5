"""Vectors that are published with a data set: Music4All-Onion, Yambda."""
