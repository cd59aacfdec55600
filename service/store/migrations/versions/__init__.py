"""One file a version; a file is never changed once it has been released."""
