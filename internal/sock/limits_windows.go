package sock

// RaiseFileLimit returns a limit that a process can rely on: Windows has none of its own.
func RaiseFileLimit() (uint64, error) { return 16384, nil }
