// Standard input to standard output in capitals: any program for WASI preview 1 works as it is.
#include <ctype.h>
#include <stdio.h>

int main(void) {
  for (int c; (c = getchar()) != EOF;) putchar(toupper(c));
  return 0;
}
