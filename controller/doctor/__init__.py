"""What is looked at before and while a controller runs; each look gives findings with what to do."""
