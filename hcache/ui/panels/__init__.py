"""One module a page: the panels it is made of."""
