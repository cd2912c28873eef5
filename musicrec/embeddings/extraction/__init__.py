"""The extraction loop: plan, decoding, inference, resumable parts, merge."""
