"""The ground floor: settings, files, errors, progress, text; it imports nothing of ours."""
