/* What the lab's guest runs: it counts, keeps its memory busy, checks it, and answers.
 *
 *   console   "tick N BOOT" each second, with a number that this boot has drawn; "memory BAD page N" if a page is not what was written to it last
 *   TCP 7777  a line "N SECONDS CHANGED" every 100 ms: its number, the guest's monotonic clock, pages changed
 *   TCP 7779  a line "rate MIB" sets how much memory is changed in a second; the answer to any line tells the rate, pages kept busy, changed, checked and damaged,
 *             the last tick, and the boot's number
 *
 * From the kernel's command line: wss=MIB (memory that is kept busy), dirty=MIB (changed in a second).
 * Each page begins with its number and a generation, and its last word is their product with a constant: a lost, stale or swapped page shows.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8 };
static const uint64_t MIX = 0x9e3779b97f4a7c15u;

static volatile double rate;
static volatile uint64_t changed, checked, bad;
static volatile unsigned long tick;
static uint64_t pages, *memory, *generation;
static uint32_t boot;

static double monotonic(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void write_page(uint64_t page)
{
    uint64_t *words = memory + page * WORDS, value = ++generation[page];
    words[0] = page;
    words[1] = value;
    words[WORDS - 1] = (page + 1) * MIX + value;
    changed++;
}

static void check_page(uint64_t page)
{
    const volatile uint64_t *words = memory + page * WORDS;
    uint64_t value = generation[page];
    if (words[0] != page || words[1] != value || words[WORDS - 1] != (page + 1) * MIX + value) {
        bad++;
        printf("memory BAD page %lu\n", (unsigned long)page);
    }
    checked++;
}

/* Changes and checks in one thread, so that neither sees the other's half. A page is checked before it is changed, too: that would hide its damage.
 * Ten times a second, and 10 MiB in that second: an emulated host is busy with more. */
static void *keep_busy(void *unused)
{
    double last = monotonic(), due = 0;
    uint64_t next = 0, look = 0;
    (void)unused;
    while (pages) {
        usleep(100000);
        double now = monotonic(), per_second = rate * (1 << 20) / PAGE;
        due += (now - last) * per_second;
        last = now;
        if (due > per_second * 0.2)
            due = per_second * 0.2;
        for (; due >= 1; due--, next++) {
            check_page(next % pages);
            write_page(next % pages);
        }
        for (int i = 0; i < 256; i++)
            check_page(look++ % pages);
    }
    return NULL;
}

static void *stream(void *argument)
{
    int socket = (int)(intptr_t)argument, on = 1, length;
    char line[96];
    setsockopt(socket, SOL_TCP, TCP_NODELAY, &on, sizeof on);
    for (unsigned long number = 0;; number++) {
        length = sprintf(line, "%lu %.6f %lu\n", number, monotonic(), (unsigned long)changed);
        if (write(socket, line, length) < 0)
            break;
        usleep(100000);
    }
    close(socket);
    return NULL;
}

static void *orders(void *argument)
{
    int socket = (int)(intptr_t)argument;
    char line[192];
    ssize_t got;
    while ((got = read(socket, line, sizeof line - 1)) > 0) {
        line[got] = 0;
        if (!strncmp(line, "rate ", 5))
            rate = atof(line + 5);
        int length = sprintf(line, "rate %g pages %lu changed %lu checked %lu bad %lu tick %lu boot %lu\n", rate, (unsigned long)pages, (unsigned long)changed,
                             (unsigned long)checked, (unsigned long)bad, tick, (unsigned long)boot);
        if (write(socket, line, length) < 0)
            break;
    }
    close(socket);
    return NULL;
}

struct service {
    int port;
    void *(*serve)(void *);
};

static void *listen_for(void *argument)
{
    const struct service *service = argument;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(service->port) };
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 8)) {
        perror("agent: listen");
        return NULL;
    }
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        pthread_t thread;
        if (connection >= 0 && !pthread_create(&thread, NULL, service->serve, (void *)(intptr_t)connection))
            pthread_detach(thread);
    }
}

static double parameter(const char *line, const char *name)
{
    const char *found = strstr(line, name);
    return found ? atof(found + strlen(name)) : 0;
}

int main(void)
{
    static struct service services[] = { { 7777, stream }, { 7779, orders } };
    char line[4096] = "";
    pthread_t thread;
    FILE *file = fopen("/proc/cmdline", "r");
    if (file && !fgets(line, sizeof line, file))
        line[0] = 0;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    rate = parameter(line, " dirty=");
    pages = (uint64_t)parameter(line, " wss=") * (1 << 20) / PAGE;
    if (pages) {
        memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        generation = calloc(pages, sizeof *generation);
        if (memory == MAP_FAILED || !generation) {
            perror("agent: memory");
            return 1;
        }
        /* Nothing that could be left out or packed. */
        uint64_t state = 88172645463325252u;
        for (uint64_t word = 0; word < pages * WORDS; word++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            memory[word] = state;
        }
        for (uint64_t page = 0; page < pages; page++)
            write_page(page);
    }
    if (getrandom(&boot, sizeof boot, GRND_INSECURE) != sizeof boot) {
        perror("agent: random numbers");
        return 1;
    }
    pthread_create(&thread, NULL, keep_busy, NULL);
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        pthread_create(&thread, NULL, listen_for, &services[i]);
    for (;; tick++) {
        printf("tick %lu %lu\n", tick, (unsigned long)boot);
        sleep(1);
    }
}
