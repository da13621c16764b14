"""Remember: where every decision goes, and what is checked of it afterwards."""
