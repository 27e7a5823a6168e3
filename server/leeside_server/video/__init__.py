"""The video bridge: forwards sealed media packets between the parties of a consult's call, and opens none of them."""
