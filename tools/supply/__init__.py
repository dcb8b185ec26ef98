"""What the product is made of: known weaknesses, bill of materials, licences."""
