//go:build unix && !linux

package postgres

import "syscall"

// attributes puts the server in a process group of its own, so that ^C at the
// terminal reaches only us and we stop it in order. Only Linux can tie its life
// to ours; here a server that outlives a killed Countersign is reported at the
// next start.
func (a account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.lent {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids read from /etc/passwd are small
	}
	return attr
}
