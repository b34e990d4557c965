/* A plugin for QEMU's user-mode emulation that counts executed 64-bit Arm instructions by class.
 *
 * Whenever the emulated program calls getppid(), which it has no other reason to do, the counts so
 * far are written as one line to the file given as out=FILE, in the order of `enum class`.
 *
 * QEMU's header is not needed: what is used of its plugin interface is declared here. The interface
 * has versions; API is set when this is compiled (1 before QEMU 9, 2 from then on).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define GETPPID 173 /* on 64-bit Arm Linux */

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct information {
    const char *target;
    struct {
        int min, cur;
    } version;
};

extern void qemu_plugin_register_vcpu_tb_trans_cb(
    plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *, void (*)(unsigned, void *), int flags, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t, uint64_t));
/* Up to interface version 2 it returns the bytes; later it copies them to what it is given. */
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);

EXPORT int qemu_plugin_version = API;

enum class { INTEGER, BRANCH, MEMORY, VECTOR_MEMORY, VECTOR, DOT_PRODUCT, CLASSES };
struct block {
    uint32_t counts[CLASSES];
};

static uint64_t totals[CLASSES];
static int interface_version;
static FILE *output;

/* The main encoding groups of A64, by bits 28 to 25. */
static enum class classify(uint32_t code) {
    uint32_t group = code >> 25 & 15;
    if ((group & 14) == 10)
        return BRANCH; /* and system instructions */
    if ((group & 5) == 4)
        return code >> 26 & 1 ? VECTOR_MEMORY : MEMORY;
    if ((group & 7) != 7)
        return INTEGER;
    bool by_vector = (code & 0x9f20fc00) == 0x0e009400;  /* SDOT, UDOT */
    bool by_element = (code & 0x9f00f400) == 0x0f00e000; /* the same by one element */
    return by_vector || by_element ? DOT_PRODUCT : VECTOR; /* floating point too */
}

static uint32_t encoding(const struct qemu_plugin_insn *instruction) {
    uint32_t code = 0;
    const void *bytes = qemu_plugin_insn_data(instruction, &code, sizeof code);
    if (interface_version < 3)
        memcpy(&code, bytes, sizeof code);
    return code;
}

static void executed(unsigned cpu, void *data) {
    const struct block *block = data;
    (void)cpu;
    for (int i = 0; i < CLASSES; i++)
        totals[i] += block->counts[i];
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb) {
    struct block *block = calloc(1, sizeof *block);
    size_t count = qemu_plugin_tb_n_insns(tb);
    (void)id;
    for (size_t i = 0; i < count; i++)
        block->counts[classify(encoding(qemu_plugin_tb_get_insn(tb, i)))]++;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != GETPPID)
        return;
    for (int i = 0; i < CLASSES; i++)
        fprintf(output, "%llu%c", (unsigned long long)totals[i], i == CLASSES - 1 ? '\n' : ' ');
    fflush(output);
}

EXPORT int qemu_plugin_install(plugin_id id, const struct information *information, int count,
                               char **arguments) {
    interface_version = information->version.cur;
    if (count != 1 || strncmp(arguments[0], "out=", 4) != 0 ||
        (output = fopen(arguments[0] + 4, "w")) == NULL)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
