#include "bindings/parts.hpp"

NB_MODULE(_native, m) {
  m.doc() = "Native core of lowtide.solvers.";
  lowtide::bindings::add_schedule(m);
  lowtide::bindings::add_certificate(m);
  lowtide::bindings::add_allocation(m);
  lowtide::bindings::add_remat(m);
}
