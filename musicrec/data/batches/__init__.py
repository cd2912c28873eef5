"""Batches of training data: pairs for Shallow, masked sequences for BERT4Rec."""
