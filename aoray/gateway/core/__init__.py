"""What every HTTP dialect uses: it knows none of them."""
