package sock

import (
	"os"
	"strings"
)

// Sysctl returns a setting of the Linux kernel (proc_sys(5)) by its name: net.ipv4.ip_local_port_range. What is not there, in this network
// namespace or on this system, is fs.ErrNotExist.
func Sysctl(name string) (string, error) {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	return strings.TrimSpace(string(text)), err
}
