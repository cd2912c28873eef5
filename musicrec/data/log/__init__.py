"""Reading listening logs: formats, values, rejected rows."""
