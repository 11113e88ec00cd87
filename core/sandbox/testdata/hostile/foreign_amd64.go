package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// foreign asks for the number of the process by the interface of the i386,
// int 0x80, whose calls have other numbers than those of amd64.
func foreign([]string) error {
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	copy(code, []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3}) // mov eax, getpid; int 0x80; ret
	entry := unsafe.Pointer(&code[0])
	function := &entry
	(*(*func())(unsafe.Pointer(&function)))()
	return nil
}
