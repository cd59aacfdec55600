"""What a study leaves behind for people and for other programs: tables, a picture, a page."""
