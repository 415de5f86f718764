"""What people look at: a page, a picture, a trace, a memory snapshot of the planned execution.

planned model, report ──scene──▶ plain data ──svg──▶ a picture for papers (also as PNG)
                                            ├─page─▶ one self-contained HTML page
                                            ├trace─▶ Chrome trace JSON
                                            └snapshot▶ what PyTorch's memory viewer reads
"""
