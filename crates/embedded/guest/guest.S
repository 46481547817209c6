# The guest that ships with relocd: it ticks, dirties memory, and knows at any time whether its memory is what it should be.
#
# Machine: RV64IMA, machine mode only, RAM at 0x80000000, loaded and entered there.
#   a1 = boot information: 8 bytes "RELOCD01", 8 bytes of RAM size, 8 bytes of length of the command line, the command line
#   0x10000000  console: store a byte to print it
#   0x02004000  mtimecmp, 0x0200bff8 mtime: 10 MHz; stands still while the machine does
#   0x00100000  power: store 0x5555 to switch off, 0x3333 to crash
#
# Memory: 64 KiB for this program, then a table with a checksum of 8 bytes for each data page, then the data pages up to the last page, which holds the
# boot information.
#
# The checksum of a page is the sum of word[i] * (2 i + 1): a word that is lost, old, or in another's place changes it. The sum of all
# checksums is kept in a register, so that a page and its table entry that are old together are found out as well.
#
# Command line: dirty=MB/s  wss=MiB  verify=MB/s  fill=random|zero  ticks=N

        .equ    CONSOLE, 0x10000000
        .equ    MTIMECMP, 0x02004000
        .equ    MTIME, 0x0200bff8
        .equ    POWER, 0x00100000
        .equ    PROGRAM, 0x10000
        .equ    SLICE, 100000           # 10 ms
        .equ    SECOND, 10000000

        # Kept in registers all the time:
        #   s0 table            s1 first data page      s2 data pages           s3 pages of the working set
        #   s4 dirty per slice  s5 verify per slice     s6 dirty cursor         s7 verify cursor
        #   s8 sum of checksums s9 sum of this cycle    s10 pages dirtied       s11 variables
        .equ    NEXT_SLICE, 0
        .equ    NEXT_TICK, 8
        .equ    TICK, 16
        .equ    VERIFIED, 24
        .equ    CYCLES, 32
        .equ    BAD, 40
        .equ    SEED, 48
        .equ    LAST_TICK, 56
        .equ    EXTRA, 64
        .equ    EXTRA_END, 72
        .equ    RAM_SIZE, 80

        .text
        .globl  _start
_start:
        la      sp, stack_top
        la      s11, variables
        la      t0, trap
        csrw    mtvec, t0
        li      t0, 0x80                # the timer may wake wfi; nothing interrupts
        csrw    mie, t0
        ld      t0, 8(a1)
        sd      t0, RAM_SIZE(s11)
        ld      t1, 16(a1)
        addi    t2, a1, 24
        sd      t2, EXTRA(s11)
        add     t2, t2, t1
        sd      t2, EXTRA_END(s11)

        # Where the table and the data pages are.
        la      s0, _start
        add     t3, s0, t0
        li      t4, 4096
        sub     t3, t3, t4              # the last page
        li      t5, PROGRAM
        add     s0, s0, t5
        srli    t1, t0, 12              # pages of RAM: more than there will be entries
        slli    t1, t1, 3
        add     s1, s0, t1
        addi    t4, t4, -1
        add     s1, s1, t4
        not     t4, t4
        and     s1, s1, t4
        sub     s2, t3, s1
        srli    s2, s2, 12

        # Pages per slice of 10 ms from MB/s: MB * 10000 / 4096.
        la      a0, key_dirty
        li      a1, 0
        call    number
        li      t0, 10000
        mul     a0, a0, t0
        srli    s4, a0, 12
        la      a0, key_verify
        li      a1, 64
        call    number
        li      t0, 10000
        mul     a0, a0, t0
        srli    s5, a0, 12
        la      a0, key_wss
        li      a1, 0
        call    number
        slli    s3, a0, 8               # pages from MiB
        beqz    s3, 1f
        bltu    s3, s2, 2f
1:      mv      s3, s2
2:      la      a0, key_ticks
        li      a1, 0
        call    number
        sd      a0, LAST_TICK(s11)

        li      s6, 0
        li      s7, 0
        li      s8, 0
        li      s9, 0
        li      s10, 0
        la      a0, text_hello
        call    print
        mv      a0, s2
        call    print_number
        la      a0, text_pages
        call    print
        la      a0, key_fill
        call    find
        beqz    a0, 3f
        lbu     t0, 0(a0)
        li      t1, 'r'
        bne     t0, t1, 3f
        call    fill
3:      li      t0, MTIME
        ld      t0, 0(t0)
        li      t1, SLICE
        add     t1, t0, t1
        sd      t1, NEXT_SLICE(s11)
        li      t1, SECOND
        add     t1, t0, t1
        sd      t1, NEXT_TICK(s11)

main:
        call    dirty
        call    verify
        li      t0, MTIME
        ld      t0, 0(t0)
        ld      t1, NEXT_TICK(s11)
        bltu    t0, t1, 1f
        li      t2, SECOND
        add     t1, t1, t2
        sd      t1, NEXT_TICK(s11)
        call    tick
1:      ld      t1, NEXT_SLICE(s11)
        li      t2, MTIMECMP
        sd      t1, 0(t2)
2:      li      t0, MTIME
        ld      t0, 0(t0)
        bgeu    t0, t1, 3f
        wfi
        j       2b
3:      li      t2, SLICE               # what is late is not made up for
        add     t1, t1, t2
        bgeu    t1, t0, 4f
        add     t1, t0, t2
4:      sd      t1, NEXT_SLICE(s11)
        j       main

# Changes one word in each of the next s4 pages of the working set.
dirty:
        mv      t6, s4
        ld      a5, SEED(s11)
        beqz    t6, 9f
        beqz    s3, 9f
1:      addi    a5, a5, 1
        slli    t0, s6, 12
        add     t0, t0, s1              # the page
        li      t1, 0x9e3779b97f4a7c15
        mul     t1, t1, a5              # the word's new content
        srli    t2, t1, 55              # and its place
        slli    t3, t2, 3
        add     t0, t0, t3
        ld      t4, 0(t0)
        sd      t1, 0(t0)
        sub     t1, t1, t4
        slli    t2, t2, 1
        addi    t2, t2, 1
        mul     t1, t1, t2              # what that does to the checksum
        slli    t3, s6, 3
        add     t3, t3, s0
        ld      t4, 0(t3)
        add     t4, t4, t1
        sd      t4, 0(t3)
        add     s8, s8, t1
        bgeu    s6, s7, 2f              # this cycle has been there already
        add     s9, s9, t1
2:      addi    s6, s6, 1
        bltu    s6, s3, 3f
        li      s6, 0
3:      addi    s10, s10, 1
        addi    t6, t6, -1
        bnez    t6, 1b
9:      sd      a5, SEED(s11)
        ret

# Checks the next s5 pages.
verify:
        addi    sp, sp, -16
        sd      ra, 0(sp)
        sd      s5, 8(sp)
        beqz    s5, 9f
        beqz    s2, 9f
1:      slli    a0, s7, 12
        add     a0, a0, s1
        call    checksum
        slli    t3, s7, 3
        add     t3, t3, s0
        ld      t4, 0(t3)
        add     s9, s9, t4
        beq     a0, t4, 2f
        # Said once: the table takes over what is there.
        sd      a0, 0(t3)
        sub     t4, a0, t4
        add     s8, s8, t4
        add     s9, s9, t4
        ld      t0, BAD(s11)
        addi    t0, t0, 1
        sd      t0, BAD(s11)
        la      a0, text_bad
        call    print
        slli    a0, s7, 12
        add     a0, a0, s1
        la      t0, _start
        sub     a0, a0, t0
        srli    a0, a0, 12
        call    print_number
        la      a0, text_newline
        call    print
2:      ld      t0, VERIFIED(s11)
        addi    t0, t0, 1
        sd      t0, VERIFIED(s11)
        addi    s7, s7, 1
        bltu    s7, s2, 3f
        li      s7, 0
        ld      t0, CYCLES(s11)
        addi    t0, t0, 1
        sd      t0, CYCLES(s11)
        beq     s8, s9, 4f
        ld      t0, BAD(s11)
        addi    t0, t0, 1
        sd      t0, BAD(s11)
        mv      s8, s9
        la      a0, text_sum
        call    print
4:      li      s9, 0
3:      addi    s5, s5, -1
        bnez    s5, 1b
9:      ld      ra, 0(sp)
        ld      s5, 8(sp)
        addi    sp, sp, 16
        ret

# Checksum of the page at a0, to a0.
checksum:
        li      t0, 0
        li      t1, 1
        addi    t2, a0, 2047
        addi    t2, t2, 2047
        addi    t2, t2, 2
1:      ld      t3, 0(a0)
        ld      t4, 8(a0)
        ld      t5, 16(a0)
        ld      t6, 24(a0)
        mul     t3, t3, t1
        addi    t1, t1, 2
        mul     t4, t4, t1
        addi    t1, t1, 2
        mul     t5, t5, t1
        addi    t1, t1, 2
        mul     t6, t6, t1
        addi    t1, t1, 2
        add     t3, t3, t4
        add     t5, t5, t6
        add     t0, t0, t3
        add     t0, t0, t5
        addi    a0, a0, 32
        bltu    a0, t2, 1b
        mv      a0, t0
        ret

# Fills all data pages with what no one can compress.
fill:
        addi    sp, sp, -16
        sd      ra, 0(sp)
        li      a2, 0x2545f4914f6cdd1d
        li      a3, 0x9e3779b97f4a7c15
        mv      a1, a3
        li      a4, 0
1:      bgeu    a4, s2, 9f
        slli    t0, a4, 12
        add     t0, t0, s1
        addi    t2, t0, 2047
        addi    t2, t2, 2047
        addi    t2, t2, 2
        li      t1, 1
        li      t5, 0
2:      mul     a1, a1, a2
        add     a1, a1, a3
        srli    t3, a1, 29
        xor     t3, t3, a1
        sd      t3, 0(t0)
        mul     t3, t3, t1
        add     t5, t5, t3
        addi    t1, t1, 2
        addi    t0, t0, 8
        bltu    t0, t2, 2b
        slli    t0, a4, 3
        add     t0, t0, s0
        sd      t5, 0(t0)
        add     s8, s8, t5
        addi    a4, a4, 1
        j       1b
9:      la      a0, text_filled
        call    print
        ld      ra, 0(sp)
        addi    sp, sp, 16
        ret

# Tells how it goes.
tick:
        addi    sp, sp, -16
        sd      ra, 0(sp)
        ld      t0, TICK(s11)
        addi    t0, t0, 1
        sd      t0, TICK(s11)
        la      a0, text_tick
        call    print
        ld      a0, TICK(s11)
        call    print_number
        la      a0, text_dirtied
        call    print
        mv      a0, s10
        call    print_number
        la      a0, text_verified
        call    print
        ld      a0, VERIFIED(s11)
        call    print_number
        la      a0, text_cycles
        call    print
        ld      a0, CYCLES(s11)
        call    print_number
        la      a0, text_badcount
        call    print
        ld      a0, BAD(s11)
        call    print_number
        la      a0, text_newline
        call    print
        ld      t0, LAST_TICK(s11)
        beqz    t0, 1f
        ld      t1, TICK(s11)
        bltu    t1, t0, 1f
        li      t0, POWER
        li      t1, 0x5555
        sw      t1, 0(t0)
1:      ld      ra, 0(sp)
        addi    sp, sp, 16
        ret

# Prints the text at a0 up to its zero byte.
print:
        li      t0, CONSOLE
1:      lbu     t1, 0(a0)
        beqz    t1, 2f
        sb      t1, 0(t0)
        addi    a0, a0, 1
        j       1b
2:      ret

# Prints a0 as a decimal number.
print_number:
        la      t0, digits_end
        li      t1, 10
1:      remu    t2, a0, t1
        divu    a0, a0, t1
        addi    t2, t2, '0'
        addi    t0, t0, -1
        sb      t2, 0(t0)
        bnez    a0, 1b
        mv      a0, t0
        j       print

# The value of the key at a0 in the command line: its address, or 0.
find:
        ld      t0, EXTRA(s11)
        ld      t6, EXTRA_END(s11)
1:      bgeu    t0, t6, 8f
        mv      t1, t0
        mv      t2, a0
2:      lbu     t3, 0(t2)
        beqz    t3, 9f
        bgeu    t1, t6, 8f
        lbu     t4, 0(t1)
        bne     t3, t4, 3f
        addi    t1, t1, 1
        addi    t2, t2, 1
        j       2b
3:      bgeu    t0, t6, 8f              # to the next word
        lbu     t4, 0(t0)
        addi    t0, t0, 1
        li      t5, ' '
        bne     t4, t5, 3b
        j       1b
8:      li      a0, 0
        ret
9:      mv      a0, t1
        ret

# The number after the key at a0, or a1.
number:
        addi    sp, sp, -16
        sd      ra, 0(sp)
        call    find
        beqz    a0, 3f
        li      a1, 0
        ld      t6, EXTRA_END(s11)
1:      bgeu    a0, t6, 3f
        lbu     t0, 0(a0)
        addi    t0, t0, -'0'
        li      t1, 10
        bgeu    t0, t1, 3f
        mul     a1, a1, t1
        add     a1, a1, t0
        addi    a0, a0, 1
        j       1b
3:      mv      a0, a1
        ld      ra, 0(sp)
        addi    sp, sp, 16
        ret

        .balign 4
trap:
        la      a0, text_trap
        call    print
        csrr    a0, mcause
        call    print_number
        la      a0, text_newline
        call    print
        li      t0, POWER
        li      t1, 0x3333
        sw      t1, 0(t0)
1:      j       1b

key_dirty:      .asciz  "dirty="
key_verify:     .asciz  "verify="
key_wss:        .asciz  "wss="
key_ticks:      .asciz  "ticks="
key_fill:       .asciz  "fill="
text_hello:     .asciz  "relocd guest: "
text_pages:     .asciz  " data pages\n"
text_filled:    .asciz  "filled\n"
text_tick:      .asciz  "tick "
text_dirtied:   .asciz  " dirtied "
text_verified:  .asciz  " verified "
text_cycles:    .asciz  " cycles "
text_badcount:  .asciz  " bad "
text_bad:       .asciz  "memory BAD pfn "
text_sum:       .asciz  "memory BAD sum\n"
text_trap:      .asciz  "trap "
text_newline:   .asciz  "\n"

        .balign 8
variables:      .skip   128
digits:         .skip   24
digits_end:     .byte   0
        .balign 16
stack:          .skip   512
stack_top:
