/*
 * Mends for User-Mode Linux (found in 6.1 and 6.12 as Debian has them), and disks that can fail, loaded before libc. See
 * each function.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

typedef long (*ptrace_function)(enum __ptrace_request, pid_t, void *, void *);
typedef int (*epoll_function)(int, struct epoll_event *, int, int);
typedef ssize_t (*pread_function)(int, void *, size_t, off64_t);
typedef ssize_t (*pwrite_function)(int, const void *, size_t, off64_t);

/*
 * Floating point registers are set by a PTRACE_SETREGSET of a fixed size. On processors with AMX the state is larger, the
 * machine's kernel takes it whole or not at all (EFAULT), and User-Mode Linux panics: "ptrace set fp regs failed,
 * errno = 14". This sends the whole state: what User-Mode Linux knows of it, and the rest, which no process in there uses,
 * as it is. Where both have the same size it changes nothing.
 */
long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_function libc_ptrace;
	static char state[65536]; /* a User-Mode Linux kernel has one processor */
	struct iovec whole = {state, sizeof state};
	va_list arguments;

	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (!libc_ptrace)
		libc_ptrace = (ptrace_function)dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
		struct iovec *known = data;

		if (!libc_ptrace(PTRACE_GETREGSET, pid, address, &whole) && known->iov_len < whole.iov_len) {
			memcpy(state, known->iov_base, known->iov_len);
			data = &whole;
		}
	}
	return libc_ptrace(request, pid, address, data);
}

/*
 * Interrupts are events of a descriptor, told once each (EPOLLET). User-Mode Linux takes many into one array and handles
 * one after the other; a signal that comes meanwhile fills the same array anew, and events not handled yet are lost. A
 * disk whose answer was lost that way waits until its next request: seen with DRBD, where network and disks are busy
 * together. Given one event at a time, it has none to lose, and it asks until there are no more.
 */
int epoll_wait(int epoll, struct epoll_event *events, int count, int milliseconds)
{
	static epoll_function libc_epoll_wait;

	(void)count;
	if (!libc_epoll_wait)
		libc_epoll_wait = (epoll_function)dlsym(RTLD_NEXT, "epoll_wait");
	return libc_epoll_wait(epoll, events, 1, milliseconds);
}

/*
 * A system call that leaves errno alone. User-Mode Linux' disk thread has the same errno as its kernel: set here, it
 * turned the network driver's EAGAIN of that moment into an error, after which an interface is never used again.
 */
static long quiet(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
	return result;
}

/*
 * `script/lab fail HOST DISK` makes /lab-failed-DISK in the container: from then on every read and write of that disk fails
 * as it does with a broken one. A kernel's stack is small, so buffers are.
 */
static int disk_failed(int file)
{
	static const char disks[] = "/lab-disks/";
	char descriptor[32], path[64], mark[80];
	long length;

	snprintf(descriptor, sizeof descriptor, "/proc/self/fd/%d", file);
	length = quiet(SYS_readlink, (long)descriptor, (long)path, sizeof path - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	if (strncmp(path, disks, sizeof disks - 1))
		return 0;
	snprintf(mark, sizeof mark, "/lab-failed-%s", path + sizeof disks - 1);
	return quiet(SYS_access, (long)mark, F_OK, 0) == 0;
}

ssize_t pread64(int file, void *data, size_t length, off64_t offset)
{
	static pread_function libc_pread;

	if (!libc_pread)
		libc_pread = (pread_function)dlsym(RTLD_NEXT, "pread64");
	if (disk_failed(file)) {
		errno = EIO;
		return -1;
	}
	return libc_pread(file, data, length, offset);
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t offset)
{
	static pwrite_function libc_pwrite;

	if (!libc_pwrite)
		libc_pwrite = (pwrite_function)dlsym(RTLD_NEXT, "pwrite64");
	if (disk_failed(file)) {
		errno = EIO;
		return -1;
	}
	return libc_pwrite(file, data, length, offset);
}
