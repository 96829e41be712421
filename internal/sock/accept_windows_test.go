package sock

import "golang.org/x/sys/windows"

func shortages() []error {
	return []error{windows.WSAEMFILE, windows.WSAENOBUFS, windows.ERROR_NOT_ENOUGH_MEMORY}
}
