/* A Modbus device of libmodbus, a peer that Pattoo's authors did not write:
 *
 *     libmodbus_device WORDS UNIT tcp|serial
 *
 * Each line of the file WORDS is "TABLE ADDRESS WORD", with the tables holding, input, coil and discrete. Prints "listening ADDRESS": a port on 127.0.0.1, or the path of a pseudo terminal. Runs until its input ends. What is not named is 0; beyond
 * address 1023 there is nothing (exception 02). On the serial line only UNIT is answered for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <modbus/modbus.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { SIZE = 1024 };

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static void read_words(const char *path, modbus_mapping_t *map) {
    char table[16];
    unsigned address, word;
    FILE *file = fopen(path, "r");
    if (!file)
        fail(path);
    while (fscanf(file, "%15s %u %u", table, &address, &word) == 3) {
        if (address >= SIZE)
            fail("an address beyond the last");
        if (!strcmp(table, "holding"))
            map->tab_registers[address] = word;
        else if (!strcmp(table, "input"))
            map->tab_input_registers[address] = word;
        else if (!strcmp(table, "coil"))
            map->tab_bits[address] = word;
        else
            map->tab_input_bits[address] = word;
    }
    fclose(file);
}

static void *end_with_input(void *unused) {
    while (getchar() != EOF)
        ;
    exit(0);
    return unused;
}

static int terminal(char *path, size_t size) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master) || ptsname_r(master, path, size))
        fail("pseudo terminal");
    /* Stays open, so that nobody is hung up on between two openings. */
    int keep = open(path, O_RDWR | O_NOCTTY);
    struct termios raw;
    if (keep < 0 || tcgetattr(keep, &raw))
        fail(path);
    cfmakeraw(&raw);
    tcsetattr(keep, TCSANOW, &raw);
    return master;
}

/* The wire between two pseudo terminals. */
static void *wire(void *arg) {
    struct pollfd *ends = arg;
    char bytes[512];
    while (poll(ends, 2, -1) > 0)
        for (int i = 0; i < 2; i++)
            if (ends[i].revents & POLLIN) {
                ssize_t count = read(ends[i].fd, bytes, sizeof bytes);
                if (count > 0 && write(ends[1 - i].fd, bytes, count) != count)
                    return NULL;
            }
    return NULL;
}

static void serve(modbus_t *bus, modbus_mapping_t *map) {
    uint8_t request[MODBUS_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(bus, request);
        if (length < 0)
            return;
        if (length > 0 && modbus_reply(bus, request, length, map) < 0)
            return;
    }
}

int main(int argc, char **argv) {
    if (argc != 4)
        fail("usage: libmodbus_device WORDS UNIT tcp|serial");
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    pthread_t thread;
    read_words(argv[1], map);
    if (!strcmp(argv[3], "tcp")) {
        modbus_t *bus = modbus_new_tcp("127.0.0.1", 0);
        int listening = modbus_tcp_listen(bus, 4);
        struct sockaddr_in own;
        socklen_t size = sizeof own;
        if (listening < 0 || getsockname(listening, (struct sockaddr *)&own, &size))
            fail("listen");
        printf("listening %d\n", ntohs(own.sin_port));
        fflush(stdout);
        pthread_create(&thread, NULL, end_with_input, NULL);
        while (modbus_tcp_accept(bus, &listening) >= 0) {
            serve(bus, map);
            modbus_close(bus);
        }
        fail("accept");
    }
    static struct pollfd ends[2];
    char path[64], own[64];
    ends[0] = (struct pollfd){ .fd = terminal(path, sizeof path), .events = POLLIN };
    ends[1] = (struct pollfd){ .fd = terminal(own, sizeof own), .events = POLLIN };
    modbus_t *bus = modbus_new_rtu(own, 19200, 'N', 8, 1);
    if (modbus_set_slave(bus, atoi(argv[2])) || modbus_connect(bus))
        fail(own);
    pthread_create(&thread, NULL, wire, ends);
    pthread_create(&thread, NULL, end_with_input, NULL);
    printf("listening %s\n", path);
    fflush(stdout);
    for (;;)
        serve(bus, map);
}
