extern "C" int lowtide_meter_placeholder() { return 0; }
