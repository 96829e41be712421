package cli

import "os"

// lock does nothing: Windows does not let two have the file under one name anyway.
func lock(*os.File) error { return nil }
