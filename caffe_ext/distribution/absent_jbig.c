/* JBIG-KIT's functions that libtiff calls, for a wheel without JBIG-KIT, which is under the GPL.
 *
 * A TIFF that is compressed by JBIG, as fax machines do, is then refused with the text below. */
#include <stddef.h>

enum { REFUSED = 1 };

void jbg_dec_init(void* state) { (void)state; }
void jbg_dec_free(void* state) { (void)state; }
int jbg_dec_in(void* state, unsigned char* data, size_t size, size_t* count) {
  (void)state;
  (void)data;
  (void)size;
  if (count != NULL) *count = 0;
  return REFUSED;
}
unsigned char* jbg_dec_getimage(const void* state, int plane) {
  (void)state;
  (void)plane;
  return NULL;
}
long jbg_dec_getsize(const void* state) {
  (void)state;
  return 0;
}
const char* jbg_strerror(int status) {
  (void)status;
  return "JBIG is not part of this wheel";
}
int jbg_newlen(unsigned char* data, size_t size) {
  (void)data;
  (void)size;
  return REFUSED;
}
void jbg_enc_init(void* state, unsigned long width, unsigned long height, int planes,
                  unsigned char** data, void (*output)(unsigned char*, size_t, void*), void* file) {
  (void)state;
  (void)width;
  (void)height;
  (void)planes;
  (void)data;
  (void)output;
  (void)file;
}
void jbg_enc_out(void* state) { (void)state; }
void jbg_enc_free(void* state) { (void)state; }
