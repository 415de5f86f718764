"""BibTeX for the methods that Lowtide implements or compares with."""

__all__ = ["BIBTEX"]

BIBTEX = r"""@inproceedings{ahn2020serenity,
  title     = {Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired Neural Networks for Edge Devices},
  author    = {Ahn, Byung Hoon and Lee, Jinwon and Lin, Jamie Menjay and Cheng, Hsin-Pai and Hou, Jilei and Esmaeilzadeh, Hadi},
  booktitle = {Proceedings of Machine Learning and Systems (MLSys)},
  volume    = {2},
  pages     = {44--57},
  year      = {2020}
}

@inproceedings{jain2020checkmate,
  title     = {Checkmate: Breaking the Memory Wall with Optimal Tensor Rematerialization},
  author    = {Jain, Paras and Jain, Ajay and Nrusimha, Aniruddha and Gholami, Amir and Abbeel, Pieter and Gonzalez, Joseph and Keutzer, Kurt and Stoica, Ion},
  booktitle = {Proceedings of Machine Learning and Systems (MLSys)},
  volume    = {2},
  pages     = {497--511},
  year      = {2020}
}

@inproceedings{moffitt2023minimalloc,
  title     = {MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine Learning},
  author    = {Moffitt, Michael D.},
  booktitle = {Proceedings of the 28th ACM International Conference on Architectural Support for Programming Languages and Operating Systems (ASPLOS), Volume 4},
  pages     = {238--252},
  year      = {2023},
  doi       = {10.1145/3623278.3624752}
}

@inproceedings{xie2019randwire,
  title     = {Exploring Randomly Wired Neural Networks for Image Recognition},
  author    = {Xie, Saining and Kirillov, Alexander and Girshick, Ross and He, Kaiming},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  pages     = {1284--1293},
  year      = {2019}
}

@misc{pisarchyk2020sharedobjects,
  title  = {Efficient Memory Management for Deep Neural Net Inference},
  author = {Pisarchyk, Yury and Lee, Juhyun},
  year   = {2020},
  eprint = {2001.03288},
  archivePrefix = {arXiv}
}

@misc{chen2016sublinear,
  title  = {Training Deep Nets with Sublinear Memory Cost},
  author = {Chen, Tianqi and Xu, Bing and Zhang, Chiyuan and Guestrin, Carlos},
  year   = {2016},
  eprint = {1604.06174},
  archivePrefix = {arXiv}
}

@article{griewank2000revolve,
  title   = {Algorithm 799: revolve: an implementation of checkpointing for the reverse or adjoint mode of computational differentiation},
  author  = {Griewank, Andreas and Walther, Andrea},
  journal = {ACM Transactions on Mathematical Software},
  volume  = {26},
  number  = {1},
  pages   = {19--45},
  year    = {2000},
  doi     = {10.1145/347837.347846}
}

@misc{beaumont2019chains,
  title  = {Optimal checkpointing for heterogeneous chains: how to train deep neural networks with limited memory},
  author = {Beaumont, Olivier and Eyraud-Dubois, Lionel and Herrmann, Julien and Joly, Alexis and Shilova, Alena},
  year   = {2019},
  eprint = {1911.13214},
  archivePrefix = {arXiv}
}

@misc{bartan2023moccasin,
  title  = {Moccasin: Efficient Tensor Rematerialization for Neural Networks},
  author = {Bartan, Burak and Li, Haoming and Teague, Harris and Lott, Christopher and Dilkina, Bistra},
  year   = {2023},
  eprint = {2304.14463},
  archivePrefix = {arXiv}
}
"""
