package main

import (
	"fmt"
	"os"
	"time"
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

// clones makes threads past the runtime once it is told to, and goes on when the
// kernel refuses more.
func clones([]string) error {
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	copy(code, []byte{0xb8, unix.SYS_PAUSE, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}) // mov eax, pause; syscall; jmp to the begin
	// The call returns in the thread as well, which finds on its stack where to.
	const size = 4096
	stacks, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	words := unsafe.Slice((*unsafe.Pointer)(unsafe.Pointer(&stacks[0])), size/8)
	for i := range words {
		words[i] = unsafe.Pointer(&code[0])
	}
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	fmt.Println("here")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	made, told := 0, false
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags, uintptr(unsafe.Pointer(&words[size/16])), 0, 0, 0, 0)
		if errno == 0 && made < 1<<15 {
			made++
			continue
		}
		if !told {
			told = true
			fmt.Fprintln(os.Stdout, made)
		}
	}
	return number(unix.ETIME)
}
