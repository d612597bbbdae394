# The exception that longjmp throws and setjmp catches. zig's libc has the functions, and leaves the tag to the program.
	.tagtype __c_longjmp i32
	.section .text.__c_longjmp,"",@
	.globl __c_longjmp
__c_longjmp:
