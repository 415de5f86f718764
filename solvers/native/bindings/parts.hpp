// The parts of the module, one file each.
#pragma once

#include <nanobind/nanobind.h>

namespace lowtide::bindings {

void add_schedule(nanobind::module_& m);
void add_certificate(nanobind::module_& m);
void add_allocation(nanobind::module_& m);
void add_remat(nanobind::module_& m);

}  // namespace lowtide::bindings
