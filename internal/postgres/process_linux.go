package postgres

import "syscall"

// attributes puts the server in a process group of its own, so that ^C at the
// terminal reaches only us and we stop it in order, and asks the kernel to
// interrupt it when the thread that started it dies: SIGINT is PostgreSQL's
// fast, clean shutdown.
func (a account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	if a.lent {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids read from /etc/passwd are small
	}
	return attr
}
