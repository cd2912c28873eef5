"""KNN, Shallow and BERT4Rec, and the top-k retrieval they share."""
