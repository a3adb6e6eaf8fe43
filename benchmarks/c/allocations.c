/* Counts what a Python process allocates: preloaded (LD_PRELOAD), it adds one to the number in $ALLOCATIONS/PID at each
 * call of malloc, calloc and realloc in Python's domains for objects and for their parts.  What Python keeps for reuse
 * (its free lists) does not come here.  In a process that is not Python, and without $ALLOCATIONS, it does nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct allocator { /* PyMemAllocatorEx */
	void *ctx;
	void *(*malloc)(void *ctx, size_t size);
	void *(*calloc)(void *ctx, size_t count, size_t size);
	void *(*realloc)(void *ctx, void *old, size_t size);
	void (*free)(void *ctx, void *old);
};
enum { MEM = 1, OBJ = 2, DOMAINS }; /* PyMemAllocatorDomain */

static struct allocator real[DOMAINS];
static long nowhere, *made = &nowhere; /* counted under the interpreter's lock */

static void *counted_malloc(void *ctx, size_t size)
{
	struct allocator *domain = ctx;
	++*made;
	return domain->malloc(domain->ctx, size);
}

static void *counted_calloc(void *ctx, size_t count, size_t size)
{
	struct allocator *domain = ctx;
	++*made;
	return domain->calloc(domain->ctx, count, size);
}

static void *counted_realloc(void *ctx, void *old, size_t size)
{
	struct allocator *domain = ctx;
	++*made;
	return domain->realloc(domain->ctx, old, size);
}

static void uncounted_free(void *ctx, void *old)
{
	struct allocator *domain = ctx;
	domain->free(domain->ctx, old);
}

/* This process has a number of its own: that of a child is not its parent's. */
static void begin(void)
{
	char path[4096];
	made = &nowhere;
	snprintf(path, sizeof path, "%s/%d", getenv("ALLOCATIONS"), getpid());
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	void *memory = MAP_FAILED;
	if (ftruncate(fd, sizeof *made) == 0)
		memory = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory != MAP_FAILED)
		made = memory;
}

__attribute__((constructor)) static void install(void)
{
	void (*get)(int, struct allocator *) = (void (*)(int, struct allocator *))dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
	void (*set)(int, struct allocator *) = (void (*)(int, struct allocator *))dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
	if (get == NULL || set == NULL || getenv("ALLOCATIONS") == NULL)
		return;
	begin();
	pthread_atfork(NULL, NULL, begin);
	for (int domain = MEM; domain < DOMAINS; domain++) {
		struct allocator ours = {&real[domain], counted_malloc, counted_calloc, counted_realloc, uncounted_free};
		get(domain, &real[domain]);
		set(domain, &ours);
	}
}
