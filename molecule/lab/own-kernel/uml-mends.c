/*
 * Mends for User-Mode Linux (found in 6.1 and 6.12 as Debian has them), loaded before libc. See each function.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long (*ptrace_function)(enum __ptrace_request, pid_t, void *, void *);
typedef int (*epoll_function)(int, struct epoll_event *, int, int);

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
