"""What is checked of a mail before anything is sent. Pure."""
