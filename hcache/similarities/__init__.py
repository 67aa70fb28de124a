"""How alike two pictures are, by the measures that the field's papers use."""
