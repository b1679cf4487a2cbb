"""One side: what SuperOffice and operators ask over HTTP, and what they are answered."""
