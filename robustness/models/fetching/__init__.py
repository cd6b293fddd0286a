"""How one file or folder comes over HTTP: asked for, resumed, checked, and put in its place."""
