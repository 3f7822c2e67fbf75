/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The classifiers there are: each is what its file's first comment says.
#ifndef HW_NATIVE_CLASSIFIERS_H
#define HW_NATIVE_CLASSIFIERS_H

#include "native/classifier.h"

extern const struct hw_classifier hw_cxx_classifier;     // cxx.c
extern const struct hw_classifier hw_gobject_classifier; // gobject.c
extern const struct hw_classifier hw_libxml2_classifier; // libxml2.c
extern const struct hw_classifier hw_openssl_classifier; // openssl.c
extern const struct hw_classifier hw_sqlite_classifier;  // sqlite.c
extern const struct hw_classifier hw_string_classifier;  // strings.c
extern const struct hw_classifier hw_zlib_classifier;    // zlib.c

#endif
