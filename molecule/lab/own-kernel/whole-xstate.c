/*
 * User-Mode Linux (up to Debian 13's 6.12) sets its processes' floating point registers by a PTRACE_SETREGSET of a fixed
 * size. On processors with AMX the state is larger, the machine's kernel takes it whole or not at all (EFAULT), and
 * User-Mode Linux panics: "ptrace set fp regs failed, errno = 14". Loaded before libc, this sends the whole state: what
 * User-Mode Linux knows of it, and the rest, which no process in there uses, as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long (*ptrace_function)(enum __ptrace_request, pid_t, void *, void *);

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
