"""How one request is sent: encode, admit, send, classify failures."""
