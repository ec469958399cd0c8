"""What nodes say to each other (`messages`), and how it looks as bytes (`codec`)."""
