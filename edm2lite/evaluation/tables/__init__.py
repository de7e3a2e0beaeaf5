"""Tables: settings by metrics, kept on disk as they are found, and written in many formats."""
