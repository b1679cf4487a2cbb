"""What cannot be published in its turn: which rows and places are held, and until when."""
