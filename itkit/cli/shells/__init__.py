"""Scripts for the completion of bash, zsh and fish, made from what the commands take."""
